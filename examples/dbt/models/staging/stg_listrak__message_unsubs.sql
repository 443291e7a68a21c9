{{ stream('message_unsubs', ['message_id', 'email_address'], [
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['ContactID', 'contact_id', 'text'],
    ['AdditionDate', 'subscribed_at', 'timestamp'],
    ['RemovalDate', 'unsubscribed_at', 'timestamp'],
    ['RemovalMethod', 'unsubscribe_method', 'text'],
]) }}

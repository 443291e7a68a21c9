{{ stream('list_unsubs', ['list_id', 'contact_id', 'unsubscribed_at'], [
    ['ListID', 'list_id', 'integer'],
    ['ContactID', 'contact_id', 'text'],
    ['EmailAddress', 'email_address', 'address'],
    ['AdditionDate', 'subscribed_at', 'timestamp'],
    ['RemovalDate', 'unsubscribed_at', 'timestamp'],
    ['RemovalMethod', 'unsubscribe_method', 'text'],
]) }}

{{ stream('message_opens', ['message_id', 'email_address', 'opened_at'], [
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['ContactID', 'contact_id', 'text'],
    ['OpenDate', 'opened_at', 'timestamp'],
]) }}

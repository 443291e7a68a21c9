{{ stream('message_reads', ['message_id', 'email_address', 'read_at'], [
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['ContactID', 'contact_id', 'text'],
    ['ReadDate', 'read_at', 'timestamp'],
]) }}

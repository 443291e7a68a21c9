{{ stream('message_sends', ['message_id', 'email_address'], [
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
]) }}

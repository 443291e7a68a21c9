{{ stream('conversation_opens', ['conversation_id', 'message_id', 'email_address', 'opened_at'], [
    ['ConversationID', 'conversation_id', 'integer'],
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['OpenDate', 'opened_at', 'timestamp'],
]) }}

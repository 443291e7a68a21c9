{{ stream('conversation_reads', ['conversation_id', 'message_id', 'email_address', 'read_at'], [
    ['ConversationID', 'conversation_id', 'integer'],
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['ReadDate', 'read_at', 'timestamp'],
]) }}

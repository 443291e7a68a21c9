{{ stream('conversation_sends', ['conversation_id', 'message_id', 'email_address', 'sent_at'], [
    ['ConversationID', 'conversation_id', 'integer'],
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['SendDate', 'sent_at', 'timestamp'],
]) }}

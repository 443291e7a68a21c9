{{ stream('conversation_unsubs', ['conversation_id', 'message_id', 'email_address', 'unsubscribed_at'], [
    ['ConversationID', 'conversation_id', 'integer'],
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['RemoveDate', 'unsubscribed_at', 'timestamp'],
    ['RemoveMethod', 'unsubscribe_method', 'text'],
]) }}

{{ stream('conversation_bounces', ['conversation_id', 'message_id', 'email_address', 'bounced_at'], [
    ['ConversationID', 'conversation_id', 'integer'],
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['BounceDate', 'bounced_at', 'timestamp'],
    ['BounceReason', 'bounce_reason', 'text'],
]) }}

{{ stream('conversation_deliveries', ['conversation_id'], [
    ['ConversationID', 'conversation_id', 'integer'],
    ['SendCount', 'send_count', 'integer'],
    ['DeliverCount', 'deliver_count', 'integer'],
    ['BounceCount', 'bounce_count', 'integer'],
]) }}

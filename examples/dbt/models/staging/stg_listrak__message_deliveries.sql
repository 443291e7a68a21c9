{{ stream('message_deliveries', ['message_id'], [
    ['MsgID', 'message_id', 'integer'],
    ['DeliverCount', 'deliver_count', 'integer'],
    ['BounceCount', 'bounce_count', 'integer'],
    ['PassAlongCount', 'pass_along_count', 'integer'],
]) }}

{{ stream('message_bounces', ['message_id', 'email_address', 'bounced_at'], [
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['ContactID', 'contact_id', 'text'],
    ['BounceDate', 'bounced_at', 'timestamp'],
    ['BounceReason', 'bounce_reason', 'text'],
    ['BounceDetail', 'bounce_detail', 'text'],
    ['BounceCount', 'bounce_count', 'integer'],
]) }}

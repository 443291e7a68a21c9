{{ stream('message_analytics', ['message_id'], [
    ['MsgID', 'message_id', 'integer'],
    ['CampaignID', 'campaign_id', 'integer'],
    ['CampaignName', 'campaign_name', 'text'],
]) }}

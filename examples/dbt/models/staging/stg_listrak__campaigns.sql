{{ stream('campaigns', ['campaign_id'], [
    ['CampaignID', 'campaign_id', 'integer'],
    ['ListID', 'list_id', 'integer'],
    ['Name', 'campaign_name', 'text'],
    ['MessageCount', 'message_count', 'integer'],
]) }}

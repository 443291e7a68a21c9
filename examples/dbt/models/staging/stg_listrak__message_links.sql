{{ stream('message_links', ['message_id', 'link_id'], [
    ['MsgID', 'message_id', 'integer'],
    ['LinkID', 'link_id', 'integer'],
    ['LinkURL', 'link_url', 'text'],
    ['LinkDescription', 'link_description', 'text'],
    ['LinkType', 'link_type', 'text'],
    ['ClickCount', 'click_count', 'integer'],
    ['ClickerCount', 'clicker_count', 'integer'],
]) }}

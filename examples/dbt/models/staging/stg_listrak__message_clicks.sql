{{ stream('message_clicks', ['message_id', 'email_address', 'clicked_at', 'link_url'], [
    ['MsgID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['ContactID', 'contact_id', 'text'],
    ['ClickDate', 'clicked_at', 'timestamp'],
    ['LinkUrl', 'link_url', 'text'],
    ['LinkDescription', 'link_description', 'text'],
]) }}

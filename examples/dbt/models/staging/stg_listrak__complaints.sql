{{ stream('complaints', ['list_id', 'message_id', 'email_address', 'complained_at'], [
    ['ListID', 'list_id', 'integer'],
    ['MessageID', 'message_id', 'integer'],
    ['EmailAddress', 'email_address', 'address'],
    ['AbuseDate', 'complained_at', 'timestamp'],
    ['ISPName', 'provider', 'text'],
]) }}

{{ stream('subscribed_contacts', ['list_id', 'contact_id'], [
    ['ListID', 'list_id', 'integer'],
    ['ContactID', 'contact_id', 'text'],
    ['EmailAddress', 'email_address', 'address'],
    ['AdditionDate', 'subscribed_at', 'timestamp'],
    ['AdditionMethod', 'subscribe_method', 'text'],
]) }}

{{ stream('lists', ['list_id'], [
    ['ListID', 'list_id', 'integer'],
    ['ListName', 'list_name', 'text'],
    ['CreateDate', 'created_at', 'timestamp'],
]) }}

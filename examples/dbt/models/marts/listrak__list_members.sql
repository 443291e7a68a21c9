with subscribed as (
    select
        list_id,
        email_address,
        max(contact_id) as contact_id,
        max(subscribed_at) as subscribed_at,
        max(subscribe_method) as subscribe_method
    from {{ ref('stg_listrak__subscribed_contacts') }}
    where email_address is not null
    group by list_id, email_address
),

unsubs as (
    select list_id, email_address, contact_id, subscribed_at, unsubscribed_at, unsubscribe_method
    from {{ ref('stg_listrak__list_unsubs') }}
    where email_address is not null
    union all
    select
        messages.list_id,
        unsubs.email_address,
        unsubs.contact_id,
        unsubs.subscribed_at,
        unsubs.unsubscribed_at,
        unsubs.unsubscribe_method
    from {{ ref('stg_listrak__message_unsubs') }} as unsubs
    inner join {{ ref('stg_listrak__messages') }} as messages on unsubs.message_id = messages.message_id
    where messages.list_id is not null
),

numbered as (
    select
        *,
        row_number() over (
            partition by list_id, email_address
            order by coalesce(unsubscribed_at, timestamp '1970-01-01 00:00:00') desc, unsubscribe_method
        ) as latest_first
    from unsubs
),

members as (
    select
        coalesce(subscribed.list_id, unsubs.list_id) as list_id,
        coalesce(subscribed.email_address, unsubs.email_address) as email_address,
        coalesce(subscribed.contact_id, unsubs.contact_id) as contact_id,
        coalesce(subscribed.subscribed_at, unsubs.subscribed_at) as subscribed_at,
        subscribed.subscribe_method,
        {# A contact who unsubscribes keeps its row in subscribed_contacts; one who joined again has a later date. -#}
        subscribed.list_id is not null
        and (unsubs.list_id is null or coalesce(subscribed.subscribed_at > unsubs.unsubscribed_at, false))
            as is_subscribed,
        unsubs.unsubscribed_at,
        unsubs.unsubscribe_method
    from subscribed
    full outer join (select * from numbered where latest_first = 1) as unsubs
        on subscribed.list_id = unsubs.list_id and subscribed.email_address = unsubs.email_address
)

select
    members.*,
    lists.list_name
from members
left join {{ ref('stg_listrak__lists') }} as lists on members.list_id = lists.list_id

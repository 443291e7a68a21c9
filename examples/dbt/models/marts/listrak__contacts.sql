with activity as (
    select
        email_address,
        max(contact_id) as contact_id,
        count(*) filter (where was_sent) as messages_sent,
        count(*) filter (where was_opened) as messages_opened,
        count(*) filter (where was_read) as messages_read,
        count(*) filter (where was_clicked) as messages_clicked,
        count(*) filter (where was_bounced) as messages_bounced,
        min(sent_at) filter (where was_sent) as first_sent_at,
        max(sent_at) filter (where was_sent) as last_sent_at,
        max(last_engaged_at) as last_engaged_at,
        max(first_bounced_at) as last_bounced_at,
        max(first_bounced_at) filter (where bounce_kind = 'hard') as last_hard_bounced_at
    from {{ ref('listrak__campaign_recipients') }}
    group by email_address
),

memberships as (
    select
        email_address,
        max(contact_id) as contact_id,
        count(*) as lists,
        count(*) filter (where is_subscribed) as lists_subscribed,
        bool_or(is_subscribed) as is_subscribed,
        min(subscribed_at) as first_subscribed_at,
        max(unsubscribed_at) as last_unsubscribed_at
    from {{ ref('listrak__list_members') }}
    group by email_address
),

leaving as (
    select
        email_address,
        unsubscribe_method,
        row_number() over (
            partition by email_address
            order by coalesce(unsubscribed_at, timestamp '1970-01-01 00:00:00') desc, list_id
        ) as latest_first
    from {{ ref('listrak__list_members') }}
    where not is_subscribed
),

complaints as (
    select email_address, count(*) as complaints
    from {{ ref('stg_listrak__complaints') }}
    group by email_address
),

newest as (
    select max(greatest(sent_at, last_engaged_at)) as happened_at from {{ ref('listrak__campaign_recipients') }}
),

contacts as (
    select
        coalesce(activity.email_address, memberships.email_address) as email_address,
        coalesce(memberships.contact_id, activity.contact_id) as contact_id,
        coalesce(memberships.lists, 0) as lists,
        coalesce(memberships.lists_subscribed, 0) as lists_subscribed,
        coalesce(memberships.is_subscribed, false) as is_subscribed,
        memberships.first_subscribed_at,
        memberships.last_unsubscribed_at,
        coalesce(activity.messages_sent, 0) as messages_sent,
        coalesce(activity.messages_opened, 0) as messages_opened,
        coalesce(activity.messages_read, 0) as messages_read,
        coalesce(activity.messages_clicked, 0) as messages_clicked,
        coalesce(activity.messages_bounced, 0) as messages_bounced,
        activity.first_sent_at,
        activity.last_sent_at,
        activity.last_engaged_at,
        activity.last_bounced_at,
        activity.last_hard_bounced_at
    from activity
    full outer join memberships on activity.email_address = memberships.email_address
)

select
    contacts.email_address,
    contacts.contact_id,
    contacts.lists,
    contacts.lists_subscribed,
    contacts.is_subscribed,
    case
        when contacts.is_subscribed then null
        when complaints.complaints > 0 then 'complained'
        when contacts.last_unsubscribed_at is not null or contacts.lists > 0 then 'unsubscribed'
        when contacts.last_hard_bounced_at is not null then 'bounced'
        else 'unknown'
    end as why_not_subscribed,
    leaving.unsubscribe_method,
    contacts.first_subscribed_at,
    contacts.last_unsubscribed_at,
    contacts.messages_sent,
    contacts.messages_opened,
    contacts.messages_read,
    contacts.messages_clicked,
    contacts.messages_bounced,
    {{ share('contacts.messages_opened', 'contacts.messages_sent') }} as open_rate,
    {{ share('contacts.messages_clicked', 'contacts.messages_sent') }} as click_rate,
    contacts.first_sent_at,
    contacts.last_sent_at,
    contacts.last_engaged_at,
    contacts.last_bounced_at,
    cast(extract(epoch from (newest.happened_at - contacts.last_engaged_at)) / 86400 as double precision)
        as days_since_engaged,
    case
        when contacts.last_engaged_at >= newest.happened_at - interval '{{ var("active_days") }} days' then 'active'
        when contacts.messages_opened + contacts.messages_read + contacts.messages_clicked > 0 then 'lapsed'
        when contacts.messages_sent > 0 then 'never engaged'
        else 'never sent to'
    end as engagement
from contacts
cross join newest
left join complaints on contacts.email_address = complaints.email_address
left join leaving
    on contacts.email_address = leaving.email_address and leaving.latest_first = 1 and not contacts.is_subscribed

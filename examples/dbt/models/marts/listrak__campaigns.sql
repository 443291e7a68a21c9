with recipients as (
    select
        message_id,
        count(*) filter (where was_sent) as sends,
        count(*) filter (where was_opened) as unique_opens,
        count(*) filter (where was_read) as unique_reads,
        count(*) filter (where was_clicked) as unique_clicks,
        count(*) filter (where was_bounced) as bounces,
        count(*) filter (where bounce_kind = 'hard') as hard_bounces,
        count(*) filter (where bounce_kind = 'soft') as soft_bounces,
        count(*) filter (where bounce_kind = 'other') as other_bounces,
        count(*) filter (where was_unsubscribed) as unsubscribes
    from {{ ref('listrak__campaign_recipients') }}
    group by message_id
),

complaints as (
    select message_id, count(*) as complaints
    from {{ ref('stg_listrak__complaints') }}
    group by message_id
),

counted as (
    select
        messages.message_id,
        messages.list_id,
        lists.list_name,
        analytics.campaign_id,
        coalesce(analytics.campaign_name, campaigns.campaign_name) as campaign_name,
        messages.subject,
        messages.sent_at,
        {{ counted('message_sends', 'recipients.sends') }} as sends,
        messages.deliver_count as delivered,
        messages.open_count as opens,
        {{ counted('message_opens', 'recipients.unique_opens') }} as unique_opens,
        messages.read_count as reads,
        {{ counted('message_reads', 'recipients.unique_reads') }} as unique_reads,
        messages.click_count as clicks,
        {{ counted('message_clicks', 'recipients.unique_clicks', 'messages.clicker_count') }} as unique_clicks,
        {{ counted('message_bounces', 'recipients.bounces', 'deliveries.bounce_count') }} as bounces,
        {{ counted('message_bounces', 'recipients.hard_bounces') }} as hard_bounces,
        {{ counted('message_bounces', 'recipients.soft_bounces') }} as soft_bounces,
        {{ counted('message_bounces', 'recipients.other_bounces') }} as other_bounces,
        {{ counted('message_unsubs', 'recipients.unsubscribes', 'messages.remove_count') }} as unsubscribes,
        {{ counted('complaints', 'complaints.complaints') }} as complaints,
        messages.conversion_count as conversions,
        messages.order_total as revenue,
        messages.average_order_value
    from {{ ref('stg_listrak__messages') }} as messages
    left join {{ ref('stg_listrak__lists') }} as lists on messages.list_id = lists.list_id
    left join recipients on messages.message_id = recipients.message_id
    left join complaints on messages.message_id = complaints.message_id
    left join {{ ref('stg_listrak__message_analytics') }} as analytics
        on messages.message_id = analytics.message_id
    left join {{ ref('stg_listrak__campaigns') }} as campaigns on analytics.campaign_id = campaigns.campaign_id
    left join {{ ref('stg_listrak__message_deliveries') }} as deliveries
        on messages.message_id = deliveries.message_id
)

select
    *,
    {{ share('unique_opens', 'delivered') }} as open_rate,
    {{ share('unique_reads', 'delivered') }} as read_rate,
    {{ share('unique_clicks', 'delivered') }} as click_rate,
    {{ share('unique_clicks', 'unique_opens') }} as click_to_open_rate,
    {{ share('bounces', 'sends') }} as bounce_rate,
    {{ share('unsubscribes', 'delivered') }} as unsubscribe_rate,
    {{ share('conversions', 'unique_clicks') }} as conversion_rate,
    {{ share('revenue', 'delivered') }} as revenue_per_delivered
from counted

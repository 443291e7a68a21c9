{%- set events = {
    'sends': 'sent_at', 'opens': 'opened_at', 'reads': 'read_at', 'bounces': 'bounced_at', 'unsubs': 'unsubscribed_at'
} -%}
with
{%- for event, happened_at in events.items() %}
{{ event }} as (
    select
        conversation_id,
        count(distinct email_address) as contacts,
        min({{ happened_at }}) as first_at,
        max({{ happened_at }}) as last_at
    from {{ ref('stg_listrak__conversation_' ~ event) }}
    group by conversation_id
){{ ',' if not loop.last }}
{%- endfor %}

select
    conversations.conversation_id,
    conversations.list_id,
    lists.list_name,
    conversations.campaign_id,
    conversations.campaign_name,
    conversations.conversation_name,
    conversations.published_at,
    conversations.contact_count as contacts,
    conversations.waiting_count as contacts_waiting,
    conversations.terminated_count as contacts_terminated,
    deliveries.send_count as sends,
    conversations.deliver_count as delivered,
    conversations.open_count as opens,
    conversations.read_count as reads,
    conversations.click_count as clicks,
    deliveries.bounce_count as bounces,
    conversations.remove_count as unsubscribes,
    {{ counted('conversation_sends', 'sends.contacts') }} as unique_sends,
    {{ counted('conversation_opens', 'opens.contacts') }} as unique_opens,
    {{ counted('conversation_reads', 'reads.contacts') }} as unique_reads,
    {{ counted('conversation_bounces', 'bounces.contacts') }} as unique_bounces,
    {{ counted('conversation_unsubs', 'unsubs.contacts') }} as unique_unsubscribes,
    sends.first_at as first_sent_at,
    sends.last_at as last_sent_at,
    opens.last_at as last_opened_at,
    conversations.conversion_count as conversions,
    conversations.order_total as revenue,
    {{ share(counted('conversation_opens', 'opens.contacts'), 'conversations.deliver_count') }} as open_rate,
    {{ share('conversations.remove_count', 'conversations.deliver_count') }} as unsubscribe_rate
from {{ ref('stg_listrak__conversations') }} as conversations
left join {{ ref('stg_listrak__lists') }} as lists on conversations.list_id = lists.list_id
left join {{ ref('stg_listrak__conversation_deliveries') }} as deliveries
    on conversations.conversation_id = deliveries.conversation_id
{%- for event in events %}
left join {{ event }} on conversations.conversation_id = {{ event }}.conversation_id
{%- endfor %}

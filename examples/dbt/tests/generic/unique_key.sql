{# No two rows have the same values in these columns, and none of them is NULL but those in `nullable`. #}
{% test unique_key(model, columns, nullable=[]) %}
select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{%- for column in columns if column not in nullable %} or {{ column }} is null {%- endfor %}
{% endtest %}

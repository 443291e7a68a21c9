{# The condition holds for every row, as far as it can be told. #}
{% test always(model, condition) %}
select * from {{ model }} where not ({{ condition }})
{% endtest %}

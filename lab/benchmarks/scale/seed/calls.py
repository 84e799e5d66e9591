"""What years of calls and of webhooks leave, as queries: audit events and deliveries."""

from __future__ import annotations

AUDIT = """
    SELECT ((%(begin)s + n * (%(end)s - %(begin)s) / %(rows)s) * 1000 + n %% 1000) << 10, 'producer', account_id,
        CASE WHEN n %% 20 > 0 THEN 'TaskService/SubmitTask' WHEN n %% 40 = 0 THEN 'TaskService/CancelTask'
            ELSE 'ContentService/PublishContent' END,
        'task:task-' || lpad(to_hex(n), 16, '0'), CASE WHEN n %% 1000 = 0 THEN 'NOT_FOUND' ELSE 'OK' END
    FROM (SELECT n, (%(accounts)s::bigint[])[1 + n %% cardinality(%(accounts)s)] AS account_id
        FROM (SELECT generate_series(0::bigint, %(rows)s - 1) AS n) AS g OFFSET 0) AS e
"""
DELIVERIES = """
    SELECT n + 1, %(webhook)s, 'task.ended', n, 'msg-' || n, '{"status": "completed"}', 2, 1,
        NULL, ended + interval '3 days', 200, '', ended - interval '1 s', ended
    FROM (SELECT n, to_timestamp((%(begin)s + n * (%(end)s - %(begin)s) / %(rows)s) / 1000.0) AS ended
        FROM (SELECT generate_series(0::bigint, %(rows)s - 1) AS n) AS g OFFSET 0) AS d
"""
WEBHOOK = """
    INSERT INTO webhooks (account_id, url, event_types, active, secret)
        VALUES (%(account)s, 'https://example.com/', ARRAY['task.ended'], false, 'whsec_c2VlZA==') RETURNING webhook_id
"""
AFTERWARDS = """
    SELECT setval('webhook_deliveries_delivery_id_seq', coalesce(max(delivery_id), 1)) FROM webhook_deliveries
"""

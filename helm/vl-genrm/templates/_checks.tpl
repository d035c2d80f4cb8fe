{{/* What cannot work together is refused here, with what to do; what is impossible by itself, by values.schema.json. */}}
{{- define "vl-genrm.check" -}}
{{- $values := .Values }}
{{- $isOpen := not (include "vl-genrm.keysSecret" .) }}
{{- /* These two are no patterns of the schema, because its messages repeat what was given: a key, a password. */}}
{{- range $index, $line := $values.auth.keys }}
{{- if not (regexMatch "^[A-Za-z0-9._-]+:[0-9a-fA-F]{64}(:[a-z_]+=([1-9][0-9]*|none))*$" $line) }}
{{- fail (printf "auth.keys[%d] is no line of a key file: name:sha256-hex, then options. `vl-genrm keys new NAME` prints one; the key itself stays with its owner." $index) }}
{{- end }}
{{- end }}
{{- if and $values.database.postgresql.url (not (regexMatch "^postgresql(\\+[a-z0-9]+)?://." $values.database.postgresql.url)) }}
{{- fail "database.postgresql.url does not begin with postgresql://. It is postgresql://user:password@host:5432/name." }}
{{- end }}
{{- with $values.database }}
{{- if and (eq .kind "sqlite") (include "vl-genrm.severalReplicas" $) }}
{{- fail "SQLite serves one replica. Set replicaCount to 1 and autoscaling.enabled to false, or database.kind to postgresql (or to none, without batches)." }}
{{- end }}
{{- if and (eq .kind "postgresql") (not .postgresql.existingSecret) (not .postgresql.url) }}
{{- fail "database.kind is postgresql, but where is it? Set database.postgresql.existingSecret, or database.postgresql.url." }}
{{- end }}
{{- end }}
{{- if and (include "vl-genrm.onePod" .) (include "vl-genrm.severalReplicas" .) }}
{{- fail "Several replicas cannot share a model cache that one node mounts. Set modelCache.persistence.accessModes to [ReadWriteMany], or modelCache.persistence.enabled to false." }}
{{- end }}
{{- if and (eq $values.database.kind "sqlite") $values.strategy.type (ne $values.strategy.type "Recreate") }}
{{- fail "With SQLite two pods must never run at once. Leave strategy empty, or set strategy.type to Recreate." }}
{{- end }}
{{- if and $values.modelCache.persistence.enabled (eq (join "" $values.modelCache.persistence.accessModes) "ReadOnlyMany") (not $values.hub.offline) }}
{{- fail "A model cache that can only be read takes no downloads. Fill it beforehand and set hub.offline to true, or add ReadWriteMany to modelCache.persistence.accessModes." }}
{{- end }}
{{- with $values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas is %d and maxReplicas %d. The first must not be the larger." (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- if and .enabled (eq .metric "genrm_requests_waiting") (or $values.vllm.enabled $values.settings.engine_url) }}
{{- fail "Where the model runs on another server, nothing waits in the judge. Set autoscaling.metric to genrm_requests_running or cpu." }}
{{- end }}
{{- if and .enabled (eq .metric "cpu") (not (dig "requests" "cpu" "" $values.resources)) }}
{{- fail "autoscaling.metric cpu is a share of the requested CPU. Set resources.requests.cpu." }}
{{- end }}
{{- end }}
{{- with $values.podDisruptionBudget }}
{{- $hasLeast := not (kindIs "invalid" .minAvailable) }}
{{- $hasMost := not (kindIs "invalid" .maxUnavailable) }}
{{- if and .enabled (eq $hasLeast $hasMost) }}
{{- fail "A disruption budget has one limit. Set one of podDisruptionBudget.minAvailable and maxUnavailable, and the other to null." }}
{{- end }}
{{- end }}
{{- if and $values.vllm.enabled $values.settings.engine_url }}
{{- fail "vllm.enabled starts a server for the judge, and settings.engine_url names another. Drop one of them." }}
{{- end }}
{{- if and $values.vllm.enabled $values.settings.adapter }}
{{- fail "An adapter is put on a model in the judge's own process. With vllm.enabled, give it to vLLM by vllm.extraArgs (--lora-modules) and its name to settings.model." }}
{{- end }}
{{- with $values.vllm }}
{{- if and .enabled (gt (int .replicaCount) 1) .modelCache.persistence.enabled (not (has "ReadWriteMany" .modelCache.persistence.accessModes)) (not (has "ReadOnlyMany" .modelCache.persistence.accessModes)) }}
{{- fail "Several replicas of vLLM cannot share a cache that one node mounts. Set vllm.modelCache.persistence.accessModes to [ReadWriteMany]." }}
{{- end }}
{{- end }}
{{- if and $isOpen (not $values.auth.allowAnonymous) (or $values.ingress.enabled (ne $values.service.type "ClusterIP")) }}
{{- fail "This would open the judge to everybody: it has no keys. Set auth.existingSecret or auth.keys, or auth.allowAnonymous to true if something in front of it asks who is there." }}
{{- end }}
{{- if and $values.auth.existingSecret $values.auth.keys }}
{{- fail "Keys come from one place. Set either auth.existingSecret or auth.keys." }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) }}
{{- fail "ingress.enabled needs at least one of ingress.hosts." }}
{{- end }}
{{- with $values.networkPolicy }}
{{- if and .enabled $values.ingress.enabled (not .ingress.namespaces) (not .ingress.from) }}
{{- fail "The network policy would keep the Ingress out. Name its controller's namespace in networkPolicy.ingress.namespaces." }}
{{- end }}
{{- if and .enabled $values.metrics.serviceMonitor.enabled (not .ingress.metricsNamespaces) }}
{{- fail "The network policy would keep Prometheus out. Name its namespace in networkPolicy.ingress.metricsNamespaces." }}
{{- end }}
{{- end }}
{{- if eq (toString $values.port) (toString $values.metrics.port) }}
{{- fail "port and metrics.port are the same. Set metrics.port to null for /metrics on the main port, or to another number." }}
{{- end }}
{{- $grace := $values.terminationGracePeriodSeconds }}
{{- if and (not (kindIs "invalid" $grace)) (le (int $grace) (int (include "vl-genrm.shutdownSeconds" .))) }}
{{- fail (printf "terminationGracePeriodSeconds is %d, but a shutdown may take %s s (settings.shutdown_delay_seconds and shutdown_timeout_seconds together). Raise it above that, or set it to null." (int $grace) (include "vl-genrm.shutdownSeconds" .)) }}
{{- end }}
{{- end }}

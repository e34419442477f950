{{- define "portcullis.name" -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Whether several pods may run: only when they share a store. */}}
{{- define "portcullis.fleet" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}yes{{ end }}
{{- end }}

{{/* The configuration as the gateway reads it. */}}
{{- define "portcullis.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if .Values.policy }}
{{- $_ := set $config "policy" "policy.yaml" }}
{{- end }}
{{- if .Values.workloadIdentity.enabled }}
{{- $_ := set $config.entra "federated_token_file" "/run/secrets/entra/token" }}
{{- $_ := unset $config.entra "client_secret_file" }}
{{- end }}
{{- if not $config.audit }}
{{- $_ := set $config "audit" (dict "retention" "90d") }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Seconds of a duration that is written in seconds or in minutes; 0 of others, which are not judged. */}}
{{- define "portcullis.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int }}
{{- if regexMatch "^[0-9]+s$" . }}{{ $number }}{{ else if regexMatch "^[0-9]+m$" . }}{{ mul $number 60 }}{{ else }}0{{ end }}
{{- end }}

{{/* What cannot be right is refused before it is in the cluster. */}}
{{- define "portcullis.check" -}}
{{- if and (include "portcullis.fleet" .) (not (dig "state" "redis" nil .Values.config)) }}
{{- fail "several pods cannot share a directory; set config.state.redis, or one replica and no autoscaling" }}
{{- end }}
{{- if not (or .Values.policy .Values.config.policy) }}
{{- fail "there is no policy, and nobody may do anything without one; give its file (--set-file policy=policy.yaml), or write config.policy" }}
{{- end }}
{{- if and .Values.policy .Values.config.policy }}
{{- fail "the policy is there twice; leave out either policy or config.policy" }}
{{- end }}
{{- if not (or .Values.config.server.trusted_proxies .Values.config.server.tls) }}
{{- fail "tokens would cross the network in the clear; name the network of your ingress in config.server.trusted_proxies, or a certificate in config.server.tls" }}
{{- end }}
{{- $server := .Values.config.server }}
{{- $drain := include "portcullis.seconds" ($server.drain_delay | default "0s") }}
{{- $grace := include "portcullis.seconds" ($server.shutdown_grace | default "10s") }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add (int $drain) (int $grace) 10 | int) }}
{{- fail (printf "pods would be killed before they are done; set terminationGracePeriodSeconds to %d or more: drain_delay, shutdown_grace, and ten seconds for the audit trail" (add (int $drain) (int $grace) 10)) }}
{{- end }}
{{- if and (include "portcullis.fleet" .) .Values.persistence.enabled }}
{{- fail "persistence is for one pod; several keep their state in Redis" }}
{{- end }}
{{- end }}

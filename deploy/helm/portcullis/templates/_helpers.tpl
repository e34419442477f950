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
{{- if and (include "portcullis.fleet" .) .Values.persistence.enabled }}
{{- fail "persistence is for one pod; several keep their state in Redis" }}
{{- end }}
{{- end }}

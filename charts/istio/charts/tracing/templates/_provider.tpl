{{/* jaeger or zipkin, and nothing else. */}}
{{- define "tracing.provider" -}}
{{- if not (has .Values.provider (list "jaeger" "zipkin")) -}}
{{- fail (printf "tracing.provider is %q: it is jaeger or zipkin" .Values.provider) -}}
{{- end -}}
{{- .Values.provider -}}
{{- end }}

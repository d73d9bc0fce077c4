{{/* prometheus.yml for this release: its namespace, its interval. */}}
{{- define "prometheus.config" -}}
{{- $config := .Files.Get "prometheus.yml" | fromYaml -}}
{{- $_ := set $config.global "scrape_interval" .Values.scrapeInterval -}}
{{- range $job := $config.scrape_configs -}}
{{- range $discovery := $job.kubernetes_sd_configs -}}
{{- if has "istio-system" ($discovery.namespaces | default dict).names -}}
{{- $_ := set $discovery.namespaces "names" (list $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "kiali.config" -}}
istio_namespace: {{ .Release.Namespace }}
deployment:
  namespace: {{ .Release.Namespace }}
auth:
  strategy: login
server:
  port: 20001
  web_root: {{ .Values.contextPath | default "/" }}
external_services:
  istio:
    istio_identity_domain: svc.{{ .Values.global.proxy.clusterDomain }}
    url_service_version: http://istio-pilot.{{ .Release.Namespace }}:8080/version
    component_status:
      enabled: true
      components:
      - app_label: pilot
        is_core: true
      - app_label: istio-ingressgateway
        is_core: true
      - app_label: istio-egressgateway
        is_core: false
  prometheus:
    url: {{ .Values.prometheusAddr }}
  grafana:
    enabled: {{ ne .Values.dashboard.grafanaURL "" }}
    in_cluster_url: http://grafana.{{ .Release.Namespace }}:3000
    url: {{ .Values.dashboard.grafanaURL | quote }}
  tracing:
    enabled: {{ ne .Values.dashboard.jaegerURL "" }}
    in_cluster_url: http://tracing.{{ .Release.Namespace }}
    url: {{ .Values.dashboard.jaegerURL | quote }}
{{- end }}

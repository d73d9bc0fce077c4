{{/* What the templates of this chart and of its sub-charts share. Each takes the context of the template that includes it. */}}

{{/* Labels of an object, beside its own label app. */}}
{{- define "istio.labels" -}}
chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
heritage: {{ .Release.Service }}
release: {{ .Release.Name }}
{{- end }}

{{/* CHT-20: a new pod is there before an old one goes. */}}
{{- define "istio.strategy" -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end }}

{{/* What all pods have: who pulls the image, where they may run. */}}
{{- define "istio.pod" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with merge (dict) (.Values.nodeSelector | default dict) (.Values.global.defaultNodeSelector | default dict) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions:
        - key: kubernetes.io/arch
          operator: In
          values:
          {{- range $arch, $weight := .Values.global.arch }}
          {{- if gt (int $weight) 0 }}
          - {{ $arch }}
          {{- end }}
          {{- end }}
    preferredDuringSchedulingIgnoredDuringExecution:
    {{- range $arch, $weight := .Values.global.arch }}
    {{- if gt (int $weight) 0 }}
    - weight: {{ int $weight }}
      preference:
        matchExpressions:
        - key: kubernetes.io/arch
          operator: In
          values: [{{ $arch }}]
    {{- end }}
    {{- end }}
{{- end }}

{{/* What a container may do that needs nothing of its node. */}}
{{- define "istio.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end }}

{{- define "istio.resources" -}}
{{- .Values.resources | default .Values.global.defaultResources | toYaml }}
{{- end }}

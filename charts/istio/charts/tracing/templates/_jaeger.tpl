{{- define "tracing.jaeger" -}}
- name: jaeger
  image: {{ .Values.jaeger.hub }}/all-in-one:{{ .Values.jaeger.tag }}
  imagePullPolicy: {{ .Values.global.imagePullPolicy }}
  env:
  - name: COLLECTOR_ZIPKIN_HOST_PORT
    value: ":9411"
  - name: MEMORY_MAX_TRACES
    value: {{ .Values.jaeger.memory.max_traces | int64 | quote }}
  - name: QUERY_BASE_PATH
    value: {{ .Values.contextPath | default "/" }}
  ports:
  - name: zipkin
    containerPort: 9411
  - name: query
    containerPort: 16686
  - name: collector-http
    containerPort: 14268
  - name: admin
    containerPort: 14269
  - name: agent-zipkin
    containerPort: 5775
    protocol: UDP
  - name: agent-compact
    containerPort: 6831
    protocol: UDP
  - name: agent-binary
    containerPort: 6832
    protocol: UDP
  livenessProbe:
    httpGet:
      path: /
      port: admin
  readinessProbe:
    httpGet:
      path: /
      port: admin
  resources:
    {{- include "istio.resources" . | nindent 4 }}
  securityContext:
    {{- include "istio.containerSecurityContext" . | nindent 4 }}
{{- end }}

{{- define "tracing.zipkin" -}}
{{- $port := .Values.zipkin.queryPort | int -}}
- name: zipkin
  image: {{ .Values.zipkin.hub }}/zipkin:{{ .Values.zipkin.tag }}
  imagePullPolicy: {{ .Values.global.imagePullPolicy }}
  env:
  - name: QUERY_PORT
    value: {{ $port | quote }}
  - name: JAVA_OPTS
    value: -Xms{{ .Values.zipkin.javaOptsHeap }}M -Xmx{{ .Values.zipkin.javaOptsHeap }}M -XX:+ExitOnOutOfMemoryError
  - name: STORAGE_TYPE
    value: mem
  - name: MEM_MAX_SPANS
    value: {{ .Values.zipkin.maxSpans | int64 | quote }}
  ports:
  - name: zipkin
    containerPort: {{ $port }}
  startupProbe:
    httpGet:
      path: /health
      port: {{ $port }}
    periodSeconds: 2
    failureThreshold: {{ div (add (int .Values.zipkin.probeStartupDelay) 1) 2 }}
  livenessProbe:
    httpGet:
      path: /health
      port: {{ $port }}
  readinessProbe:
    httpGet:
      path: /health
      port: {{ $port }}
  resources:
    {{- .Values.zipkin.resources | default .Values.global.defaultResources | toYaml | nindent 4 }}
  securityContext:
    {{- include "istio.containerSecurityContext" . | nindent 4 }}
{{- end }}

{{/* The mesh configuration (spec 05 §4.5), as Pilot and the injector read it. */}}
{{- define "istio.mesh" -}}
{{- $global := .Values.global -}}
{{- $secured := $global.controlPlaneSecurityEnabled -}}
{{- $domain := printf "%s.svc.%s" .Release.Namespace $global.proxy.clusterDomain -}}
# true: proxies do not ask Mixer before they forward a request. They report to it all the same.
disablePolicyChecks: {{ or $global.disablePolicyChecks (not .Values.mixer.policy.enabled) }}
{{- if .Values.mixer.policy.enabled }}
mixerCheckServer: istio-policy.{{ $domain }}:{{ ternary 15004 9091 $secured }}
# Whether requests go on when Mixer does not answer.
policyCheckFailOpen: {{ $global.policyCheckFailOpen }}
{{- end }}
{{- if .Values.mixer.telemetry.enabled }}
mixerReportServer: istio-telemetry.{{ $domain }}:{{ ternary 15004 9091 $secured }}
{{- end }}

enableTracing: {{ $global.enableTracing }}

# Empty: no access log.
accessLogFile: {{ $global.proxy.accessLogFile | quote }}
accessLogFormat: {{ $global.proxy.accessLogFormat | quote }}
accessLogEncoding: {{ $global.proxy.accessLogEncoding }}
{{- if .Values.gateways.enabled }}

ingressService: istio-ingressgateway
{{- end }}

connectTimeout: 10s
dnsRefreshRate: {{ $global.proxy.dnsRefreshRate }}

# What becomes of calls to what is not in the mesh.
outboundTrafficPolicy:
  mode: {{ $global.outboundTrafficPolicy.mode }}

trustDomain: {{ $global.trustDomain | quote }}
sdsUdsPath: {{ $global.sds.udsPath | quote }}
enableSdsTokenMount: {{ $global.sds.useTrustworthyJwt }}
sdsUseK8sSaJwt: {{ $global.sds.useNormalJwt }}

rootNamespace: {{ $global.configRootNamespace | default .Release.Namespace }}
{{- with $global.defaultConfigVisibilitySettings }}
{{- range $field := list "defaultServiceExportTo" "defaultVirtualServiceExportTo" "defaultDestinationRuleExportTo" }}
{{ $field }}: {{ toJson $global.defaultConfigVisibilitySettings }}
{{- end }}
{{- end }}
{{- with $global.localityLbSetting }}
localityLbSetting:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $global.useMCP }}

# Where Pilot takes its configuration from.
configSources:
- address: istio-galley.{{ .Release.Namespace }}.svc:9901
  {{- if $secured }}
  tlsSettings:
    mode: ISTIO_MUTUAL
  {{- end }}
{{- end }}

# How proxies start.
defaultConfig:
  connectTimeout: 10s
  configPath: /etc/istio/proxy
  binaryPath: /usr/local/bin/envoy
  serviceCluster: istio-proxy
  drainDuration: 45s
  parentShutdownDuration: 1m0s
  proxyAdminPort: 15000
  concurrency: {{ $global.proxy.concurrency }}
  discoveryAddress: istio-pilot.{{ .Release.Namespace }}:{{ ternary 15011 15010 $secured }}
  controlPlaneAuthPolicy: {{ ternary "MUTUAL_TLS" "NONE" $secured }}
  tracing:
    {{- if eq $global.proxy.tracer "zipkin" }}
    zipkin:
      address: {{ $global.tracer.zipkin.address | default (printf "zipkin.%s:9411" .Release.Namespace) }}
    {{- else if eq $global.proxy.tracer "lightstep" }}
    lightstep:
      address: {{ required "global.tracer.lightstep.address is needed where global.proxy.tracer is lightstep" $global.tracer.lightstep.address }}
      accessToken: {{ required "global.tracer.lightstep.accessToken is needed where global.proxy.tracer is lightstep" $global.tracer.lightstep.accessToken | quote }}
      secure: {{ $global.tracer.lightstep.secure }}
      {{- if and $global.tracer.lightstep.secure (not $global.tracer.lightstep.cacertPath) }}
      {{- fail "global.tracer.lightstep.cacertPath is needed where global.tracer.lightstep.secure is true" }}
      {{- end }}
      cacertPath: {{ $global.tracer.lightstep.cacertPath | quote }}
    {{- else }}
    {{- fail (printf "global.proxy.tracer is %q: it is zipkin or lightstep" $global.proxy.tracer) }}
    {{- end }}
  {{- with $global.proxy.envoyStatsd }}
  {{- if .enabled }}
  statsdUdpAddress: {{ required "global.proxy.envoyStatsd.host is needed" .host }}:{{ required "global.proxy.envoyStatsd.port is needed" .port }}
  {{- end }}
  {{- end }}
  {{- with $global.proxy.envoyMetricsService }}
  {{- if .enabled }}
  envoyMetricsServiceAddress: {{ required "global.proxy.envoyMetricsService.host is needed" .host }}:{{ required "global.proxy.envoyMetricsService.port is needed" .port }}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "istio.meshNetworks" -}}
networks:
{{- with .Values.global.meshNetworks }}
  {{- toYaml . | nindent 2 }}
{{- else }} {}
{{- end }}
{{- end }}

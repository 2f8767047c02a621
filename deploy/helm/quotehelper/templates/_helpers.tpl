{{/* The version to run: the chart's, unless another is named. */}}
{{- define "quotehelper.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What the helper runs: with Intel's software where the platform needs it. */}}
{{- define "quotehelper.image" -}}
{{- $default := "quotehelper" }}
{{- if hasPrefix "dcap" .Values.platform }}{{ $default = printf "quotehelper-%s" .Values.platform }}{{ end -}}
{{ .Values.image.repository | default $default }}:{{ include "quotehelper.tag" . }}
{{- end }}

{{/* What everything else runs. */}}
{{- define "quotehelper.plainImage" -}}
{{ .Values.plainImage.repository }}:{{ .Values.plainImage.tag | default (include "quotehelper.tag" .) }}
{{- end }}

{{/* "true" if the collateral service is wanted. */}}
{{- define "quotehelper.pccs" -}}
{{- if kindIs "invalid" .Values.pccs.enabled }}{{ if eq .Values.platform "dcap" }}true{{ end }}
{{- else if .Values.pccs.enabled }}true{{ end }}
{{- end }}

{{/* "true" if devices are given by CDI. */}}
{{- define "quotehelper.cdi" -}}
{{- if kindIs "invalid" .Values.cdi.enabled }}{{ if hasPrefix "dcap" .Values.platform }}true{{ end }}
{{- else if .Values.cdi.enabled }}true{{ end }}
{{- end }}

{{/* Where the helper and the device plugin run; each item is a term, of which one must hold. */}}
{{- define "quotehelper.nodes" -}}
- matchExpressions:
    - {key: kubernetes.io/os, operator: In, values: ["linux"]}
    - {key: kubernetes.io/arch, operator: In, values: ["amd64"]}
    - {key: intel.feature.node.kubernetes.io/sgx, operator: In, values: ["true"]}
- matchExpressions:
    - {key: kubernetes.io/os, operator: In, values: ["linux"]}
    - {key: kubernetes.io/arch, operator: In, values: ["amd64"]}
    - {key: feature.node.kubernetes.io/cpu-security.sgx.enabled, operator: In, values: ["true"]}
- matchExpressions:
    - {key: kubernetes.io/os, operator: In, values: ["linux"]}
    - {key: kubernetes.io/arch, operator: In, values: ["amd64"]}
    - {key: sgx.intel.com/capable, operator: In, values: ["true"]}
- matchExpressions:
    - {key: kubernetes.io/os, operator: In, values: ["linux"]}
    - {key: kubernetes.io/arch, operator: In, values: ["amd64"]}
    - key: node.kubernetes.io/instance-type
      operator: In
      values:
        - Standard_DC1s_v2
        - Standard_DC2s_v2
        - Standard_DC4s_v2
        - Standard_DC8_v2
        - Standard_DC1s_v3
        - Standard_DC2s_v3
        - Standard_DC4s_v3
        - Standard_DC8s_v3
        - Standard_DC16s_v3
        - Standard_DC24s_v3
        - Standard_DC32s_v3
        - Standard_DC48s_v3
        - Standard_DC1ds_v3
        - Standard_DC2ds_v3
        - Standard_DC4ds_v3
        - Standard_DC8ds_v3
        - Standard_DC16ds_v3
        - Standard_DC24ds_v3
        - Standard_DC32ds_v3
        - Standard_DC48ds_v3
- matchExpressions:
    - {key: kubernetes.io/os, operator: In, values: ["linux"]}
    {{- if eq .Values.platform "simulated" }}
    - {key: kubernetes.io/os, operator: Exists}
    {{- else }}
    - {key: quotehelper.dev/sgx, operator: In, values: ["true"]}
    {{- end }}
{{- end }}

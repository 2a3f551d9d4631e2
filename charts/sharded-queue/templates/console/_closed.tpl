{{- /* Fails where more people could look or act than the values name. anybodyMayLook opens what only shows. */ -}}
{{- define "sharded-queue.consoleIsClosed" -}}
{{- with .Values.console -}}
{{- $isSignedIn := or .usersSecret .proxyHeader -}}
{{- $isFenced := and $.Values.networkPolicy.enabled .from -}}
{{- $isOpen := and .anybodyMayLook (not .allowActions) -}}
{{- if and .allowActions (not $isSignedIn) -}}
{{- fail "console.allowActions needs to know who acts: set console.usersSecret or console.proxyHeader" -}}
{{- else if $isOpen -}}
{{- else if and .proxyHeader (not $isFenced) -}}
{{- fail "console.proxyHeader lets every pod be anybody by a header: set networkPolicy.enabled and console.from, the pods of the proxy" -}}
{{- else if and (or .ingress.enabled .httpRoute.enabled) (not $isSignedIn) -}}
{{- fail "console.ingress and console.httpRoute show everything to everybody who knows the name: set console.usersSecret or console.proxyHeader, or console.anybodyMayLook=true" -}}
{{- else if and .ingress.enabled (not .ingress.tlsSecretName) -}}
{{- fail "console.ingress without TLS shows requests and secrets to everybody on the way: set console.ingress.tlsSecretName" -}}
{{- else if not (or $isSignedIn $isFenced) -}}
{{- fail "console.enabled shows everything to every pod of the cluster: set console.usersSecret, or networkPolicy.enabled and console.from, or console.anybodyMayLook=true" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
How alike two keys are, in per cent: the letters and the pairs of neighbours that both have, each as often as both have
it. Letters alone forgive that two changed places, the commonest slip; pairs keep words apart that have the same letters
by chance. Cases and signs do not count. Input: list of two keys.
*/ -}}
{{- define "webb.likeness" -}}
{{- $left := regexReplaceAll "[^a-z0-9]" (lower (index . 0)) "" -}}
{{- $right := regexReplaceAll "[^a-z0-9]" (lower (index . 1)) "" -}}
{{- $parts := splitList "" $left -}}
{{- range $at := until (int (max 0 (sub (len $left) 1))) -}}{{- $parts = append $parts (substr $at (int (add $at 2)) $left) -}}{{- end -}}
{{- $shared := 0 -}}
{{- range uniq $parts -}}
{{- $shared = add $shared (min (sub (len (splitList . $left)) 1) (sub (len (splitList . $right)) 1)) -}}
{{- end -}}
{{- $both := sub (mul 2 (add (len $left) (len $right))) 2 -}}
{{- if gt $both 0 }}{{ div (mul 200 $shared) $both }}{{ else }}0{{ end -}}
{{- end }}

{{- /*
The path that was meant instead of `path`, or nothing: the same key at the top, if `path` is that of a top block's key;
else the same key elsewhere in its top block, else one of its neighbours that is much like it, else the same key
anywhere, least deep. Input: path, known (list of paths).
*/ -}}
{{- define "webb.suggestion" -}}
{{- $parts := splitList "." .path -}}
{{- $depth := len $parts -}}
{{- $block := join "." (initial $parts) -}}
{{- $key := last $parts -}}
{{- $best := "" -}}{{- $most := 54 -}}
{{- if and (eq $depth 2) (or (has $key .known) (has (printf "%s.*" $key) .known)) -}}{{- $best = $key -}}{{- end -}}
{{- range .known -}}
{{- if and (not $best) (hasPrefix (printf "%s." (first $parts)) .) (eq (last (splitList "." (trimSuffix ".*" .))) $key) -}}{{- $best = trimSuffix ".*" . -}}{{- end -}}
{{- end -}}
{{- if not $best -}}
{{- range .known -}}
{{- $candidate := splitList "." (trimSuffix ".*" .) -}}
{{- if ge (len $candidate) $depth -}}
{{- if eq (join "." (slice $candidate 0 (int (sub $depth 1)))) $block -}}
{{- $sibling := index $candidate (int (sub $depth 1)) -}}
{{- $now := int (include "webb.likeness" (list $key $sibling)) -}}
{{- if gt $now $most -}}
{{- $most = $now -}}{{- $best = join "." (slice $candidate 0 $depth) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $best -}}
{{- range .known -}}
{{- $candidate := splitList "." (trimSuffix ".*" .) -}}
{{- if and (eq (last $candidate) $key) (or (not $best) (lt (len $candidate) (len (splitList "." $best)))) -}}{{- $best = join "." $candidate -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $best -}}
{{- end }}

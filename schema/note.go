package schema

// Note is what every object may carry and no code reads.
type Note struct {
	Annotations map[string]string `json:"annotations,omitempty"`
}

// words are the values of a closed vocabulary as texts.
func words[T ~string](list ...T) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

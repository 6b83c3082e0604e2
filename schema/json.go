package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// JSON is a value of any form, as JSON text with sorted keys and no blanks; empty where there is none. What a document gives
// to a step stays in this form until its placeholders are filled in, because a placeholder may stand for a value of another type.
type JSON string

// MarshalJSON writes the value itself, null where there is none.
func (j JSON) MarshalJSON() ([]byte, error) {
	if j == "" {
		return []byte("null"), nil
	}
	return []byte(j), nil
}

// UnmarshalJSON keeps the text, without blanks.
func (j *JSON) UnmarshalJSON(b []byte) error {
	if !bytes.ContainsAny(b, " \t\r\n") {
		*j = JSON(b)
		return nil
	}
	var w bytes.Buffer
	if err := json.Compact(&w, b); err != nil {
		return err
	}
	*j = JSON(w.String())
	return nil
}

// Arguments give a document its parameters, by name (SSM §4.1).
type Arguments map[string]Argument

// Argument is the value of one parameter as a caller gives it: texts, or a map of texts for a parameter of type StringMap.
type Argument struct {
	Texts Texts             // nil where Map is given
	Map   map[string]string // nil where Texts are given
}

// Text is the text that is given, also as a list of one. It reports false for any other value, and for none.
func (a Argument) Text() (string, bool) {
	if len(a.Texts) != 1 {
		return "", false
	}
	return a.Texts[0], true
}

// MarshalJSON writes one text as such, several as a list, and a map as an object.
func (a Argument) MarshalJSON() ([]byte, error) {
	switch {
	case a.Map != nil:
		return json.Marshal(a.Map)
	case len(a.Texts) == 1:
		return json.Marshal(a.Texts[0])
	}
	return json.Marshal([]string(a.Texts))
}

// UnmarshalJSON takes a text, a list of texts or a map of texts.
func (a *Argument) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		return json.Unmarshal(b, &a.Map)
	}
	return json.Unmarshal(b, &a.Texts)
}

// Amount is a number of nodes, "20", or a percentage of the targets, "5%".
type Amount string

// MarshalJSON writes a number as such and a percentage as text, as people write them.
func (a Amount) MarshalJSON() ([]byte, error) {
	if _, err := strconv.Atoi(string(a)); err == nil {
		return []byte(a), nil
	}
	return json.Marshal(string(a))
}

// UnmarshalJSON takes a number or a text.
func (a *Amount) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(a))
	}
	if _, err := strconv.Atoi(string(b)); err != nil {
		return errors.New("want a number of nodes or a percentage")
	}
	*a = Amount(b)
	return nil
}

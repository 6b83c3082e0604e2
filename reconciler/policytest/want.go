package policytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth is of what is wanted; a judgement has three levels.
const maxDepth = 8

// value is JSON that knows where it stands.
type value struct {
	offset int
	fields []field // of an object
	items  []value // of a list
	kind   byte    // '{', '[' or 'v'
	scalar any     // of 'v'; a number is a json.Number
}

type field struct {
	name   string
	offset int
	value  value
}

// placedError is what is wrong with JSON, and where.
type placedError struct {
	offset int
	text   string
}

// parse reads one JSON value with nothing after it. Repeated fields are an error.
func parse(text []byte) (value, *placedError) {
	p := parser{text: text, in: json.NewDecoder(bytes.NewReader(text))}
	p.in.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return v, err
	}
	if v.kind != '{' {
		return v, &placedError{v.offset, "not an object such as {\"compliance\":\"COMPLIANT\"}"}
	}
	if rest := p.next(); rest < len(text) {
		return v, &placedError{rest, "more after the object"}
	}
	return v, nil
}

type parser struct {
	text []byte
	in   *json.Decoder
}

// next is where the next token begins.
func (p *parser) next() int {
	at := int(p.in.InputOffset())
	for at < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[at]) >= 0 {
		at++
	}
	return at
}

func (p *parser) token() (json.Token, *placedError) {
	at := p.next()
	t, err := p.in.Token()
	if err == nil {
		return t, nil
	}
	text := strings.TrimPrefix(err.Error(), "invalid character ")
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &placedError{at, "the JSON ends too early"}
	case errors.As(err, &syntax):
		at = max(at, int(syntax.Offset)-1)
	}
	return nil, &placedError{at, "not JSON: " + text}
}

func (p *parser) value(depth int) (value, *placedError) {
	v := value{offset: p.next(), kind: 'v'}
	t, err := p.token()
	if err != nil {
		return v, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		v.scalar = t
		return v, nil
	}
	if depth == maxDepth {
		return v, &placedError{v.offset, fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	v.kind = byte(delim)
	for p.in.More() {
		if v.kind == '[' {
			item, err := p.value(depth + 1)
			if err != nil {
				return v, err
			}
			v.items = append(v.items, item)
			continue
		}
		f := field{offset: p.next()}
		t, err := p.token()
		if err != nil {
			return v, err
		}
		f.name, _ = t.(string)
		if v.get(f.name) != nil {
			return v, &placedError{f.offset, fmt.Sprintf("%q is given twice", clip(f.name))}
		}
		if f.value, err = p.value(depth + 1); err != nil {
			return v, err
		}
		v.fields = append(v.fields, f)
	}
	_, err = p.token()
	return v, err
}

func (v value) get(name string) *field {
	for i := range v.fields {
		if v.fields[i].name == name {
			return &v.fields[i]
		}
	}
	return nil
}

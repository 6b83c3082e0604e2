package gitrepo

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
)

// quietError is an error without the credential: servers and what stands before them say what they were sent.
type quietError struct {
	text string
	err  error
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }

// minHidden is the shortest part of a credential that is looked for, in bytes: what is shorter stands in every text by chance.
const minHidden = 8

// quiet takes the credential of a remote over https out of an error, also one that the server was given and that was cut. A key
// for ssh is not sent.
func (t target) quiet(err error) error {
	if err == nil || t.scheme != "https" || t.CredentialFile == "" {
		return err
	}
	b, readErr := t.secret()
	if readErr != nil {
		return err // nothing was sent
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSpace(line)
	user, pass, ok := strings.Cut(line, ":")
	if !ok {
		user, pass = tokenUser, line
	}
	text := err.Error()
	for _, form := range []string{base64.StdEncoding.EncodeToString([]byte(user + ":" + pass)), base64.RawURLEncoding.EncodeToString([]byte(user + ":" + pass)),
		pass, url.QueryEscape(pass), url.PathEscape(pass), strings.Trim(strconv.Quote(pass), `"`), strings.Trim(strconv.QuoteToASCII(pass), `"`)} {
		text = hideForm(text, form)
	}
	if text == err.Error() {
		return err
	}
	return &quietError{text, err}
}

// hideForm takes a form of a credential out of a text, and the beginning of one that was cut.
func hideForm(text, form string) string {
	const instead = "[credential]"
	if len(form) < minHidden/2 {
		return text
	}
	text = strings.ReplaceAll(text, form, instead)
	for n := min(len(form), 256) - 1; n >= minHidden; n-- {
		text = strings.ReplaceAll(text, form[:n], instead)
	}
	return text
}

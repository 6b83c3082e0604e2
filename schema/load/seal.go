package load

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// openSeal reads what everybody can of an armoured age file (age-encryption.org/v1): to how many recipients it is
// encrypted, and how long what it holds is, in bytes.
func openSeal(text string) (recipients, plain int, err error) {
	const begin, end = "-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----"
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	body, ok := strings.CutPrefix(text, begin+"\n")
	if !ok {
		return 0, 0, errors.New("its first line is not " + begin)
	}
	if body, ok = strings.CutSuffix(body, "\n"+end); !ok {
		return 0, 0, errors.New("its last line is not " + end)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil {
		return 0, 0, errors.New("between its first and last line is something other than base64")
	}
	return sealHeader(b)
}

func sealHeader(b []byte) (recipients, plain int, err error) {
	for number := 1; ; number++ {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return 0, 0, errors.New("its header has no end")
		}
		b = rest
		words := strings.Split(string(line), " ")
		switch {
		case number == 1 && string(line) != "age-encryption.org/v1":
			return 0, 0, errors.New("its header is not that of age-encryption.org/v1")
		case words[0] == "---":
			if recipients == 0 {
				return 0, 0, errors.New("it is encrypted to nobody")
			}
			// A nonce of 16 bytes, then chunks of 64 KiB with 16 more each.
			const nonce, chunk, tag = 16, 64 << 10, 16
			n := len(b) - nonce
			if n < tag {
				return 0, 0, errors.New("it is cut off")
			}
			chunks := (n + chunk + tag - 1) / (chunk + tag)
			return recipients, n - chunks*tag, nil
		case words[0] == "->" && len(words) > 1 && words[1] == "scrypt":
			return 0, 0, errors.New("it is encrypted with a passphrase, not to nodes")
		case words[0] == "->" && len(words) > 1 && !strings.HasSuffix(words[1], "-grease"):
			recipients++
		case number > 1<<20:
			return 0, 0, fmt.Errorf("its header is too long")
		}
	}
}

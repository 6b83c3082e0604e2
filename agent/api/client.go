package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Client asks the agent behind one socket.
type Client struct {
	path string
	http http.Client
}

// Dial gives a client for the agent behind the socket at path. It connects with
// each request: errors of a socket that is not there come from the methods, and
// wrap ErrUnreachable or ErrDenied.
func Dial(path string) *Client {
	c := &Client{path: path}
	c.http = http.Client{
		Timeout: answerTime + 10*time.Second,
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// dial connects, and believes only a server of root or of this user: anybody can put a socket into a folder of theirs.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("user %d may not use the socket: %w", os.Geteuid(), ErrDenied)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no socket: %w", ErrUnreachable)
	case err != nil && nobodyThere(err):
		return nil, fmt.Errorf("nobody listens on the socket: %w", ErrUnreachable)
	case err != nil:
		return nil, fmt.Errorf("%v: %w", err, ErrUnreachable)
	}
	user, err := peerUser(conn)
	if err == nil && user != 0 && user != os.Geteuid() {
		err = fmt.Errorf("user %d serves the socket, who is neither root nor you: %w", user, ErrDenied)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Status is Backend's.
func (c *Client) Status(ctx context.Context) (schema.FleetStatus, error) {
	return ask[schema.FleetStatus](ctx, c, "GET", "/v1/status", nil)
}

// Nodes is Backend's; with targets only the nodes that they mean, see Backend.Select.
func (c *Client) Nodes(ctx context.Context, targets ...string) ([]schema.NodeView, error) {
	return ask[[]schema.NodeView](ctx, c, "GET", "/v1/nodes", url.Values{"target": targets})
}

// Compliance is Backend's; with targets only of the nodes that they mean. Items are left out, and counted, where the
// answer would be longer than MaxAnswer.
func (c *Client) Compliance(ctx context.Context, targets ...string) ([]schema.NodeCompliance, error) {
	return ask[[]schema.NodeCompliance](ctx, c, "GET", "/v1/compliance", url.Values{"target": targets})
}

// Explain is Backend's.
func (c *Client) Explain(ctx context.Context, node, item string, all bool) (Explained, error) {
	return ask[Explained](ctx, c, "GET", "/v1/explain", url.Values{"node": {node}, "item": {item}, "all": {strconv.FormatBool(all)}})
}

// Scan is Backend's; patches carry no Rule and no Package.
func (c *Client) Scan(ctx context.Context) (schema.Patching, error) {
	return ask[schema.Patching](ctx, c, "GET", "/v1/scan", nil)
}

// Inventory is Backend's.
func (c *Client) Inventory(ctx context.Context, node string, types []string) (map[string]json.RawMessage, error) {
	return ask[map[string]json.RawMessage](ctx, c, "GET", "/v1/inventory", url.Values{"node": {node}, "type": types})
}

// Sync is Backend's.
func (c *Client) Sync(ctx context.Context) (schema.RemoteStatus, error) {
	return ask[schema.RemoteStatus](ctx, c, "POST", "/v1/sync", nil)
}

// Account is Backend's; it carries no Unwell.
func (c *Client) Account(ctx context.Context) (schema.Account, error) {
	return ask[schema.Account](ctx, c, "GET", "/v1/account", nil)
}

// Lines is Backend's.
func (c *Client) Lines(ctx context.Context) ([]Line, error) {
	return ask[[]Line](ctx, c, "GET", "/v1/lines", nil)
}

// Facts is Backend's. Whether they have the digest is the caller's to check.
func (c *Client) Facts(ctx context.Context, digest string) ([]byte, error) {
	return ask[[]byte](ctx, c, "GET", "/v1/facts", url.Values{"digest": {digest}})
}

// ArchiveRecords is Backend's. Whether their nodes have signed them is the caller's to check.
func (c *Client) ArchiveRecords(ctx context.Context) ([]schema.Record, error) {
	return ask[[]schema.Record](ctx, c, "GET", "/v1/records", nil)
}

// Joins is Backend's.
func (c *Client) Joins(ctx context.Context) ([]string, error) {
	return ask[[]string](ctx, c, "GET", "/v1/joins", nil)
}

// ask makes one request and reads at most MaxAnswer of the answer.
func ask[T any](ctx context.Context, c *Client, method, path string, query url.Values) (T, error) {
	var out T
	err := c.request(ctx, method, path, query, &out)
	if a, ok := errors.AsType[*answered](err); ok {
		return out, a // what the agent says needs no word of where it was asked
	}
	if err != nil {
		return out, fmt.Errorf("ask the agent on %q: %w", c.path, err)
	}
	return out, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, out any) error {
	// The host part of the address has no meaning on a Unix socket.
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) && ctx.Err() == nil {
			err = u.Err // without the address, which only this package knows
		}
		if !errors.Is(err, ErrDenied) && !errors.Is(err, ErrUnreachable) && !errors.Is(err, errors.ErrUnsupported) && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read answer: %w: %w", ErrUnreachable, err)
	case len(b) > MaxAnswer:
		return fmt.Errorf("its answer is longer than %d bytes", MaxAnswer)
	case resp.StatusCode != http.StatusOK:
		return failed(resp.StatusCode, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("its answer is not what this version reads: %w", err)
	}
	return nil
}

// failed is the error that an answer carries.
func failed(status int, body []byte) error {
	var f failure
	if json.Unmarshal(body, &f) != nil || f.Error == "" {
		return fmt.Errorf("it answers with status %d, as no agent of this version does", status)
	}
	for _, c := range codes {
		if f.Code == c.name {
			return &answered{text: f.Error, is: c.err}
		}
	}
	return errors.New(f.Error)
}

// answered is an error that the agent gave, whose text names the cause already.
type answered struct {
	text string
	is   error
}

func (e *answered) Error() string { return e.text }
func (e *answered) Unwrap() error { return e.is }

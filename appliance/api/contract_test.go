package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract holds answers against the description in testdata.
type contract struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	paths    map[string]any
	schemas  map[string]*jsonschema.Schema // by place in the description
}

var theContract = sync.OnceValues(func() (*contract, error) {
	text, err := os.ReadFile(described)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := &contract{compiler: jsonschema.NewCompiler(), paths: doc.(map[string]any)["paths"].(map[string]any), schemas: map[string]*jsonschema.Schema{}}
	return c, c.compiler.AddResource("openapi.json", doc)
})

// held passes answers on, and complains of those that are not as described.
func held(t *testing.T, next http.Handler) http.Handler {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		copied := &copying{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(copied, r)
		if err := c.check(r.Method, r.URL.Path, copied.status, copied.Header().Get("Content-Type"), copied.body.Bytes()); err != nil {
			t.Errorf("%s %s: %v\n%s", r.Method, r.URL.Path, err, copied.body.Bytes())
		}
	})
}

// copying keeps what goes through it.
type copying struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *copying) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *copying) Write(p []byte) (int, error) {
	c.body.Write(p)
	return c.ResponseWriter.Write(p)
}

// Unwrap is http.ResponseController's.
func (c *copying) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// check says what is wrong with an answer. What is asked of no operation is not the contract's matter.
func (c *contract) check(method, path string, status int, kind string, body []byte) error {
	template, ok := c.template(path)
	if !ok || kind == "text/event-stream" {
		return nil
	}
	operation, ok := c.paths[template].(map[string]any)[strings.ToLower(method)].(map[string]any)
	if !ok {
		return nil
	}
	responses := operation["responses"].(map[string]any)
	key := fmt.Sprint(status)
	if responses[key] == nil {
		if key = "default"; status < 400 {
			return fmt.Errorf("status %d is not described", status)
		}
	}
	content, _ := responses[key].(map[string]any)["content"].(map[string]any)
	if content == nil {
		if len(body) > 0 {
			return fmt.Errorf("status %d is described without a body", status)
		}
		return nil
	}
	if content[kind] == nil {
		return fmt.Errorf("status %d: %q is not described", status, kind)
	}
	escaped := func(s string) string {
		return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(s)
	}
	schema, err := c.schema(fmt.Sprintf("openapi.json#/paths/%s/%s/responses/%s/content/%s/schema", escaped(template), strings.ToLower(method), key, escaped(kind)))
	if err != nil {
		return err
	}
	answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(answer)
}

func (c *contract) schema(at string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.schemas[at]; s != nil {
		return s, nil
	}
	s, err := c.compiler.Compile(at)
	c.schemas[at] = s
	return s, err
}

// template is the described path of a request's.
func (c *contract) template(path string) (string, bool) {
	if _, ok := c.paths[path]; ok {
		return path, true
	}
	parts := strings.Split(path, "/")
	for template := range c.paths {
		t := strings.Split(template, "/")
		fits := len(t) == len(parts)
		for i := 0; fits && i < len(t); i++ {
			fits = t[i] == parts[i] || strings.HasPrefix(t[i], "{")
		}
		if fits {
			return template, true
		}
	}
	return "", false
}

func TestAnAnswerThatIsNotAsDescribedIsFound(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		path, kind, body string
		status           int
		good             bool
	}{
		{"/v1/hosts", "application/json", `[{"name":"web","iqn":"iqn.2026-11.com.example:web"}]`, 200, true},
		{"/v1/hosts", "application/json", `null`, 200, true},
		{"/v1/hosts", "application/json", `[{"name":1,"iqn":"iqn.2026-11.com.example:web"}]`, 200, false},
		{"/v1/hosts", "application/json", `[{"iqn":"iqn.2026-11.com.example:web"}]`, 200, false},
		{"/v1/hosts", "application/json", `{}`, 200, false},
		{"/v1/hosts", "text/plain", `[]`, 200, false},
		{"/v1/hosts", "application/json", `[]`, 201, false},
		{"/v1/volumes/db", "application/problem+json", `{"code":"not-found","title":"Not Found","status":404,"detail":"no volume"}`, 404, true},
		{"/v1/volumes/db", "application/problem+json", `{"title":"Not Found","status":404}`, 404, false},
		{"/elsewhere", "text/html", `<html>`, 200, true},
	} {
		if err := c.check("GET", x.path, x.status, x.kind, []byte(x.body)); (err == nil) != x.good {
			t.Errorf("%s %d %s: %v", x.path, x.status, x.body, err)
		}
	}
}

// Command opa asks Open Policy Agent what it makes of the policies of a file, and writes that down as JSON.
//
// The tests of adapter opa hold our engine to what is written there; they do not run OPA. After a change of the cases, or
// with another version of OPA in go.mod:
//
//	go run . cases.yaml > recorded.json
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"
	"github.com/open-policy-agent/opa/v1/version"
	"sigs.k8s.io/yaml"
)

// A policy, and what it is asked.
type testCase struct {
	Name string `json:"name"`
	// Modules; their package is `t` unless they say otherwise.
	Policy  string   `json:"policy"`
	Modules []string `json:"modules"`
	// The rule that is asked.
	Check  string            `json:"check"`
	Inputs []json.RawMessage `json:"inputs"`
}

// What OPA says of one input: at most one of these.
type answer struct {
	Value     any    `json:"value,omitempty"`
	Undefined bool   `json:"undefined,omitempty"`
	Error     string `json:"error,omitempty"`
}

// What OPA says of a policy: why it refuses it, or an answer for each input.
type outcome struct {
	Refused string   `json:"refused,omitempty"`
	Answers []answer `json:"answers,omitempty"`
}

type recording struct {
	OPA   string             `json:"opa"`
	Cases map[string]outcome `json:"cases"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: opa CASES.yaml")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var cases []testCase
	// Cases have fields that are for our engine alone.
	if err := yaml.Unmarshal(text, &cases); err != nil {
		return err
	}
	recorded := recording{OPA: version.Version, Cases: map[string]outcome{}}
	for _, c := range cases {
		if _, taken := recorded.Cases[c.Name]; taken {
			return fmt.Errorf("two cases are called %s", c.Name)
		}
		outcome, err := c.ask()
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		recorded.Cases[c.Name] = outcome
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(recorded)
}

func (c testCase) ask() (outcome, error) {
	modules := c.Modules
	if c.Policy != "" {
		modules = append(modules, c.Policy)
	}
	check := c.Check
	if check == "" {
		check = "data.t.allow"
	}
	options := []func(*rego.Rego){rego.SetRegoVersion(ast.RegoV0), rego.Query(check)}
	for number, module := range modules {
		options = append(options, rego.Module(fmt.Sprintf("policy[%d]", number), module))
	}
	query, err := rego.New(options...).PrepareForEval(context.Background())
	if err != nil {
		return outcome{Refused: code(err)}, nil
	}
	var said outcome
	for _, input := range c.Inputs {
		var value any
		if err := util.UnmarshalJSON(input, &value); err != nil {
			return outcome{}, err
		}
		results, err := query.Eval(context.Background(), rego.EvalInput(value))
		switch {
		case err != nil:
			said.Answers = append(said.Answers, answer{Error: code(err)})
		case len(results) == 0:
			said.Answers = append(said.Answers, answer{Undefined: true})
		case len(results) == 1:
			value := results[0].Expressions[0].Value
			if value == nil {
				return outcome{}, errors.New("null cannot be told from nothing here")
			}
			said.Answers = append(said.Answers, answer{Value: value})
		default:
			return outcome{}, fmt.Errorf("%d results", len(results))
		}
	}
	return said, nil
}

// The kind of an error: its text is not the same in all versions.
func code(err error) string {
	var refused ast.Errors
	if errors.As(err, &refused) && len(refused) > 0 {
		return refused[0].Code
	}
	var many rego.Errors
	if errors.As(err, &many) && len(many) > 0 {
		return code(many[0])
	}
	var one *ast.Error
	if errors.As(err, &one) {
		return one.Code
	}
	var failed *topdown.Error
	if errors.As(err, &failed) {
		return failed.Code
	}
	return err.Error()
}

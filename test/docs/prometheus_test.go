package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const prometheus = repo + "/docs/prometheus"

func promtool(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command("promtool", args...)
	c.Dir = prometheus
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// The alert rules fire when they should, and not before.
func TestAlertRules(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml")
}

// Every expression of the dashboard parses, and names metrics that gracestat has.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(prometheus + "/dashboard.json")
	must(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal(text, &dashboard))
	metrics, err := os.ReadFile(repo + "/cmd/gracestat/metrics.go")
	must(t, err)
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			n++
			fmt.Fprintf(&rules, "  - record: panel:expr%d\n    expr: %q\n", n, target.Expr)
			for _, name := range regexp.MustCompile(`gracekit_\w+`).FindAllString(target.Expr, -1) {
				if !strings.Contains(string(metrics), `"`+name+`"`) {
					t.Errorf("panel %q: no metric %s", panel.Title, name)
				}
			}
		}
	}
	if n == 0 {
		t.Fatal("no expressions in the dashboard")
	}
	file := t.TempDir() + "/rules.yml"
	must(t, os.WriteFile(file, []byte(rules.String()), 0o644))
	promtool(t, "check", "rules", file)
}

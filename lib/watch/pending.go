package watch

import "strings"

func pendingUnsupervised(err error) bool {
	return strings.Contains(err.Error(), "nothing supervises it now") || strings.Contains(err.Error(), "nothing has made supervise")
}

package watch

import (
	"errors"

	"gracekit/lib/service"
)

func pendingUnsupervised(err error) bool {
	return errors.Is(err, service.ErrUnsupervised)
}

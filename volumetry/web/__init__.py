"""Pages on this machine's own address: a result in the browser, and a page where a scan is dropped.

::

    guard        who may ask: own address, token, cookie, origin; the headers of every answer
    serving      a free port of 127.0.0.1, the link to open, the server's life
    cases        a result and its CT as what the viewer shows
    readings     the masks that a result can be shown with: the automatic one, and readers' corrections
    viewer       the viewer's routes; `view` shows one result
    corrections  an edited mask from the page, handed on to be measured
    uploads      one dropped scan on its way to the disk, within limits
    jobs         dropped scans measured one at a time
    drop_in      the page's routes; `serve` runs it

Nothing is imported here, so that ``volumetry --help`` loads no web server.
"""

"""One run that several processes share, on machines that have nothing but a file system or an object store in common.

::

    out.zarr.journal                   the plan, made by the first process; at the end that the output has its name
    out.zarr.parts/ID/journals/part-3  finished blocks of one process
    out.zarr.parts/ID/alive/...        processes that are alive
    out.zarr.parts/ID/claims/...       what they have claimed
"""

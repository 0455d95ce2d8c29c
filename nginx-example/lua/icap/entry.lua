--- What both entry points begin with.

local request = require "icap.request"
local settings_of = require "icap.settings"

local _M = {}

--- The settings of the location, and the request's body, which may be nil. Without settings, or with a body that cannot
-- be read, the request ends here.
-- @param service_variable `icap_reqmod` or `icap_respmod`.
function _M.open(service_variable)
    local settings, settings_err = settings_of.read(service_variable)
    if not settings then
        ngx.log(ngx.ERR, "icap: ", settings_err)
        return ngx.exit(ngx.HTTP_INTERNAL_SERVER_ERROR)
    end
    local body, body_err = request.body()
    if body_err then
        ngx.log(ngx.ERR, "icap: cannot read the request's body: ", body_err)
        return ngx.exit(411)
    end
    return settings, body
end

return _M

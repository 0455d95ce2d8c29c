--- What the variables of icap/server.conf say, for the location of the current request.

local lrucache = require "resty.lrucache"
local services = require "icap.service"

local _M = {}

-- Parsed once for each text. A handful of texts in a sane configuration; bounded in any other.
local parsed = assert(lrucache.new(200))

local TIMEOUTS = { connect = true, send = true, read = true, total = true }

local WORDS = {
    icap_fail = { "closed", "open" },
    icap_ranges = { "drop", "pass" },
    icap_tls_verify = { "on", "off" },
}

local function parse_timeouts(text)
    local timeouts = {}
    for word in string.gmatch(text, "%S+") do
        local name, value = string.match(word, "^(%l+)=(%d+%.?%d*)$")
        local seconds = tonumber(value)
        if not TIMEOUTS[name] or not seconds or seconds <= 0 then
            return nil, "$icap_timeouts: what is " .. word .. "?"
        end
        timeouts[name] = seconds
    end
    for name in pairs(TIMEOUTS) do
        if not timeouts[name] then
            return nil, "$icap_timeouts lacks " .. name .. "="
        end
    end
    return timeouts
end

local function once(parse, text)
    local known = parsed:get(text)
    if known then
        return known
    end
    local value, err = parse(text)
    if value then
        parsed:set(text, value)
    end
    return value, err
end

--- @param service_variable `icap_reqmod` or `icap_respmod`.
-- @return the settings, or nil and what is wrong with them.
function _M.read(service_variable)
    local urls, timeouts = ngx.var[service_variable], ngx.var.icap_timeouts
    if not urls or not timeouts then
        return nil, "include icap/server.conf in the server that scans"
    end
    local service_list, list_err = once(services.parse_list, urls)
    if not service_list then
        return nil, "$" .. service_variable .. ": " .. list_err
    end
    local limits, limits_err = once(parse_timeouts, timeouts)
    if not limits then
        return nil, limits_err
    end
    for name, values in pairs(WORDS) do
        local value = ngx.var[name]
        if value ~= values[1] and value ~= values[2] then
            return nil, "$" .. name .. " is neither " .. values[1] .. " nor " .. values[2]
        end
    end
    return {
        services = service_list,
        timeouts = limits,
        inner = ngx.var.icap_inner,
        fails_open = ngx.var.icap_fail == "open",
        drops_ranges = ngx.var.icap_ranges == "drop",
        verifies_tls = ngx.var.icap_tls_verify == "on",
    }
end

return _M
